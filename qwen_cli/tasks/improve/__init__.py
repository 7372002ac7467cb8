"""Self-improvement in mathematics: problems made, solved, judged, learned from, again."""
