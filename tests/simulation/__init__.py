"""The real kernel over a log in memory and a real Postgres, with faults that a seed decides.

``turns`` gives the turns, ``sessions`` and ``broker`` are the two servers as processes meet them,
``faults`` says what strikes at an I/O, ``readers`` and ``operators`` are the processes, ``stories``
what is told, ``verdict`` what must be true at the end, ``run`` one run of it all. A mechanism is
added by a story that tells of it (``stories``, listed in ``run.Simulation._told``), a projection
that lives by it (``ground.SUBJECTS``), or something that an operator does (``operators``).
"""
