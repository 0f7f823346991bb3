"""One algorithm a file. A solver is ``(problem, start, options, monitor) -> (Point, Status)``."""
