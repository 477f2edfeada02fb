"""How models write a number, and what the numbers of a box are called."""

NUMBER = r"([-+]?(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][-+]?[0-9]++)?+|[-+]?(?:nan|NaN|inf(?:inity)?+|Infinity)\b)"
"""One number as a regex group; non-finite words are read so that they can be counted. Possessive: never tried twice."""

CORNERS = ("x1", "y1", "x2", "y2")
