"""Drawings for the documentation: an SVG file that follows the reader's light or dark setting.

A drawing has shapes of named classes. `COLOURS` gives each class its fill for light and for dark, so no shape contains a
colour. `Drawing.text()` is the file."""

from xml.sax.saxutils import escape

# Class: fill on a light background, fill on a dark one.
COLOURS = {
    "background": ("#ffffff", "#0d1117"),
    "text": ("#1f2328", "#e6edf3"),
    "faint": ("#59636e", "#9198a1"),
    "grid": ("#d1d9e0", "#3d444d"),
    "grey": ("#afb8c1", "#6e7681"),
    "blue": ("#54aeff", "#388bfd"),
    "navy": ("#0969da", "#1158c7"),
    "teal": ("#1b7c83", "#39c5cf"),
    "orange": ("#e16f24", "#db6d28"),
    "purple": ("#8250df", "#a371f7"),
    "green": ("#2da44e", "#3fb950"),
}
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"


class Drawing:
    def __init__(self, width, height, title):
        self.width, self.height, self.title = width, height, title
        self.used, self.shapes = {"background", "text"}, []

    def shape(self, colour, text):
        self.used.add(colour)
        self.shapes.append(text)

    def rect(self, x, y, width, height, colour, title=""):
        """A rectangle; `title` is what a pointer above it shows."""
        body = f"><title>{escape(title)}</title></rect>" if title else "/>"
        self.shape(colour, f'<rect class="{colour}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{body}')

    def write(self, x, y, text, colour="text", anchor="start", size=13, bold=False):
        weight = ' font-weight="600"' if bold else ""
        self.shape(colour, f'<text class="{colour}" x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{weight}>'
                           f"{escape(text)}</text>")

    def text(self):
        def rules(theme):
            return "".join(f".{name}{{fill:{COLOURS[name][theme]}}}" for name in COLOURS if name in self.used)

        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="{FONT}" role="img" aria-labelledby="title">',
            f'<title id="title">{escape(self.title)}</title>',
            f"<style>{rules(0)}@media(prefers-color-scheme:dark){{{rules(1)}}}</style>",
            f'<rect class="background" width="{self.width}" height="{self.height}" rx="8"/>',
            *self.shapes, "</svg>", ""])
