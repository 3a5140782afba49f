"""The command line: options in, one job, a result out."""
