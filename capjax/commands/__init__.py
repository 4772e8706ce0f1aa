"""Sub-commands of `capjax`, one module each: `add_parser(commands)`, and `run(args)`, which returns the exit status."""
