"""The command line, the pages it writes and the loggers it feeds."""
