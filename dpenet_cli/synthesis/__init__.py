"""Rain, structure that is no rain, and the camera's own degradations, drawn.

The files in reading order; each imports only from those above it:

    degradations      sensor noise and JPEG
    parameters        the kinds of rain, their ranges, and parameters drawn from them
    rain              rain drawn on pictures: streaks, veil, camera
    layers            rain from rendered streak layers
    structure_shapes  where structures lie
    structures        structure that is no rain, drawn on pictures: grilles, wires, posts, dashes, reeds, text
"""
