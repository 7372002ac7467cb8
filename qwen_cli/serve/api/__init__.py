"""The routes: requests read, checked and answered."""
