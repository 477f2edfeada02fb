"""How models write a number."""

NUMBER = r"([-+]?(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][-+]?[0-9]++)?+|[-+]?(?:nan|NaN|inf(?:inity)?+|Infinity)\b)"
"""One number as a regex group; non-finite words are read so that they can be counted. Possessive: never tried twice."""
