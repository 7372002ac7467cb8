"""The protocol every engine meets, and the values it speaks in."""
