"""A CutoutStore and networks in, a ScoreStore for each network out, every object exactly once.

Start with `run.py`. A run is planned in `plan.py`, cut into `blocks.py`, handed out by
`dispatch.py` and done by `worker.py`, which `reading.py` feeds.
"""

from equilens.pipeline.scoring.run import ScoreSummary, score, score_paths, score_together

__all__ = ["ScoreSummary", "score", "score_paths", "score_together"]
