"""The embedded world: small pictures of coloured shapes, the data sets made of them, and the small model that ships."""
