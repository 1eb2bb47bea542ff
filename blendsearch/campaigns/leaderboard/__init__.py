"""The leaderboard: criteria and blends compared on equal terms, cell by cell."""
