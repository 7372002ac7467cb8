"""Mathematics: tool-integrated reasoning, votes, equality of answers."""
