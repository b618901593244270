"""Measurements of StillDB, from outside as an ordinary client, and of its query engine.

    python -m bench                               everything, some minutes on two cores; needs 8 GB of disk
    python -m bench --quick                       everything, small: does it work, not how fast is it
    python -m bench peer create_to_ping           some of it
    python -m bench --json figures.json           the figures to a file too
    python -m bench restore_vs_copy --big-mb 200  other sizes and repetitions; --help lists them

Figures are medians; what is compared with something takes turns with it in one run, because machines are noisy. A target
that is not met is shown and is no failure. Data and order of operations come from fixed seeds. Nothing is left behind but
the peer's virtual environment below .bench, which can be removed at any time.
"""
