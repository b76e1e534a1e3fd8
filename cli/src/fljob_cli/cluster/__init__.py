"""The cluster side of the command line. Only `api` talks to the API server; `view` turns objects into text."""
