"""From scores to a blend: ranks within groups, clusters of like-minded criteria, and their weighted sum."""

from blendsearch.blending.blend import Blend
from blendsearch.blending.clusters import Clusters, cluster
from blendsearch.blending.mapping import AdaptedBlend, adapt_blend
from blendsearch.blending.ranks import Scores, agreement, rank_all, spearman
from blendsearch.blending.units import with_unit
from blendsearch.criteria.ranking import rank

__all__ = [
    "Blend",
    "Clusters",
    "AdaptedBlend",
    "Scores",
    "agreement",
    "cluster",
    "adapt_blend",
    "rank",
    "rank_all",
    "spearman",
    "with_unit",
]
