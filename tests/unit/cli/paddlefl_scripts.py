"""A job of PaddleFL as its scripts have it, with a line changed where a test wants that."""

from __future__ import annotations

from typing import Any

import pytest

from fljob_cli.convert import paddlefl
from fljob_cli.convert.mapping import Converted
from fljob_cli.errors import InputError

# The calls are PaddleFL's; the scripts and their values are ours.
NETWORK = """
class Sessions:
    def gru4rec_network(self, vocab_size=500, hid_size=24, init_low_bound=-0.05, init_high_bound=0.05):
        faster = 10.0
        self.source = fluid.layers.data(name="source", shape=[1], dtype="int64", lod_level=1)
        table = fluid.layers.embedding(
            input=self.source,
            size=[vocab_size, hid_size],
            param_attr=fluid.ParamAttr(initializer=fluid.initializer.Uniform(low=init_low_bound), learning_rate=faster),
            is_sparse=False,
        )
        gates = fluid.layers.fc(input=table, size=hid_size * 3, param_attr=fluid.ParamAttr(learning_rate=1.0))
        hidden = fluid.layers.dynamic_gru(input=gates, size=hid_size)
        self.scores = fluid.layers.fc(input=hidden, size=vocab_size, act="softmax")
        self.recall = fluid.layers.accuracy(input=self.scores, label=self.target, k=20)
        self.loss = fluid.layers.mean(x=fluid.layers.cross_entropy(input=self.scores, label=self.target))
"""
MASTER = """
import paddle.fluid as fluid

network = Sessions()
network.gru4rec_network()
generator = JobGenerator()
optimizer = fluid.optimizer.SGD(learning_rate=1.5)
generator.set_optimizer(optimizer)
generator.set_losses([network.loss])
generator.set_startup_program(network.startup_program)
generator.set_infer_feed_and_target_names([x.name for x in network.inputs], [network.loss.name])
factory = FLStrategyFactory()
factory.fed_avg = True
factory.inner_step = 6
strategy = factory.create_fl_strategy()
places = ["10.0.0.1:8181"]
generator.generate_fl_job(strategy, server_endpoints=places, worker_num=3, output="plans")
"""
TRAINER = """
import sys

number = int(sys.argv[1])
plan = FLRunTimeJob()
plan.load_trainer_job("plans", number)
plan._scheduler_ep = "10.0.0.1:9091"
trainer = FLTrainerFactory().create_fl_trainer(plan)
trainer._current_ep = "10.0.0.1:{}".format(9000 + number)
where = fluid.CPUPlace()
trainer.start(where)
reader = Gru4rec_Reader()
batches = reader.reader(sys.argv[2], where, batch_size=20)
turn = 0
while not trainer.stop():
    turn += 1
    step = 0
    for data in batches():
        trainer.run(feed=data, fetch=["loss"])
        step += 1
        if step == trainer._step:
            break
    trainer.save_inference_program("models/%d" % turn)
    if turn >= 12:
        break
"""
SCHEDULER = """
scheduler = FLScheduler(3, 1, port=9091)
scheduler.set_sample_worker_num(2)
scheduler.init_env()
scheduler.start_fl_training()
"""
SERVER = """
server = FLServer()
plan = FLRunTimeJob()
plan.load_server_job("plans", 0)
server.set_server_job(plan)
server._current_ep = "10.0.0.1:8181"
server.start()
"""
SCRIPTS = {
    "fl_master.py": NETWORK + MASTER,
    "fl_trainer.py": TRAINER,
    "fl_scheduler.py": SCHEDULER,
    "fl_server.py": SERVER,
}


def convert(scripts: dict[str, str] | None = None, rounds: int | None = None) -> Converted:
    return paddlefl.convert(scripts or SCRIPTS, name="shops", rounds=rounds)


def changed(script: str, old: str, new: str) -> dict[str, str]:
    """Return the scripts with a line of one changed; it must be there."""
    text = SCRIPTS[script]
    assert old in text
    return {**SCRIPTS, script: text.replace(old, new)}


def spec_of(scripts: dict[str, str] | None = None, rounds: int | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = convert(scripts, rounds).manifest["spec"]
    return spec


def problems_of(scripts: dict[str, str], rounds: int | None = None) -> list[tuple[str, str, str]]:
    with pytest.raises(InputError) as caught:
        convert(scripts, rounds)
    return [(problem.path, problem.message, problem.suggestion) for problem in caught.value.problems]


def lost_of(scripts: dict[str, str]) -> dict[str, str]:
    """Return what is lost beside what is lost of the unchanged scripts."""
    before = {key.key for key in convert().keys if key.lost}
    return {key.key.split()[1]: key.value for key in convert(scripts).keys if key.lost and key.key not in before}
