"""Questions about images, documents and videos."""
