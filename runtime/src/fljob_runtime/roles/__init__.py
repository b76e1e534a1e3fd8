"""The shells of coordinator and trainer: sockets, files and clocks around the pure parts."""
