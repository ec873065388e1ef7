"""Rain and the camera's own degradations, drawn.

The files in reading order; each imports only from those above it:

    degradations  sensor noise and JPEG
    rain          streaks, accumulation, veil
"""
