"""From a row of a finished sink back to the bytes that it came from."""
