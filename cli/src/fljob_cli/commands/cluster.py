"""Commands on FLJobs in a cluster: submit, list, status, logs, suspend, resume, delete."""

from __future__ import annotations

from typing import Annotated

import typer

from fljob_cli.commands.shared import Context, Kubeconfig, Manifest, Namespace, Output, OutputOption, Settings

Name = Annotated[str, typer.Argument(help="Name of the FLJob.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (submit, status, logs, suspend, resume, delete):
        app.command()(command)
    app.command("list")(list_jobs)


def submit(  # noqa: PLR0913 - a command's options are its parameters
    manifest: Manifest,
    *,
    settings: Settings = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay and show rounds until the job ends.")] = False,
    timeout: Annotated[int, typer.Option(min=1, help="With --wait: seconds to stay at most.")] = 86_400,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Check a manifest and create or update its FLJob in the cluster.

    Example: fljob submit movies.yaml --wait
    """
    from fljob_cli.cluster import actions, api, watching  # noqa: PLC0415 - heavy

    cluster = api.connect(namespace, context=context, kubeconfig=kubeconfig)
    name, cluster = actions.submit(cluster, manifest, settings or [], namespace_given=namespace is not None)
    if wait:
        raise typer.Exit(watching.wait(cluster, name, timeout_s=timeout))


def status(
    name: Name,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew until the job ends.")] = False,
    output: OutputOption = Output.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show a job: conditions, what it waits for, its trainers, and why it failed.

    Example: fljob status movies --watch
    """
    from fljob_cli.cluster import api, watching  # noqa: PLC0415 - heavy

    cluster = api.connect(namespace, context=context, kubeconfig=kubeconfig)
    watching.show(cluster, name, follow=watch, json_output=output is Output.JSON)


def logs(  # noqa: PLR0913 - a command's options are its parameters
    name: Name,
    *,
    role: Annotated[str | None, typer.Option(help="coordinator, server or trainer; default coordinator.")] = None,
    trainer: Annotated[str | None, typer.Option(help="One trainer, by its name in the manifest.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay and print new lines.")] = False,
    tail: Annotated[int, typer.Option(min=1, help="Lines from the end of each pod's log.")] = 200,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Print the logs of a job's pods.

    Example: fljob logs movies --trainer site-3 -f
    """
    from fljob_cli.cluster import api  # noqa: PLC0415 - heavy
    from fljob_cli.cluster import logs as pod_logs  # noqa: PLC0415 - heavy

    cluster = api.connect(namespace, context=context, kubeconfig=kubeconfig)
    selection = pod_logs.Selection(job=name, role=role, trainer=trainer)
    pod_logs.print_logs(cluster, selection, follow=follow, tail=tail)


def suspend(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Stop a job at its next round border and free its pods; `resume` goes on from there."""
    from fljob_cli.cluster import actions, api  # noqa: PLC0415 - heavy

    actions.set_suspend(api.connect(namespace, context=context, kubeconfig=kubeconfig), name, suspended=True)


def resume(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Let a suspended job go on at its last committed round."""
    from fljob_cli.cluster import actions, api  # noqa: PLC0415 - heavy

    actions.set_suspend(api.connect(namespace, context=context, kubeconfig=kubeconfig), name, suspended=False)


def delete(name: Name, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Delete an FLJob and its pods; its checkpoints stay, and `model get` still finds them."""
    from fljob_cli.cluster import actions, api  # noqa: PLC0415 - heavy

    actions.delete(api.connect(namespace, context=context, kubeconfig=kubeconfig), name)


def list_jobs(
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A")] = False,
    output: OutputOption = Output.TEXT,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List FLJobs with state, round, trainers, loss and headline metric: AUC, Recall@20 or Accuracy."""
    from fljob_cli.cluster import api, watching  # noqa: PLC0415 - heavy

    cluster = api.connect(namespace, context=context, kubeconfig=kubeconfig)
    watching.list_jobs(cluster, all_namespaces=all_namespaces, json_output=output is Output.JSON)
