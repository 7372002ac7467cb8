"""What a person gives to be looked at: pictures, pages, videos, from files, folders, addresses and pipes."""
