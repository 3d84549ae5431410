//! A picture of shapes and texts, and its SVG.
//!
//! In: shapes with coordinates in pixels, and texts of unknown origin. Out: a standalone SVG document: valid XML, without
//! scripts, fonts or links.

use std::fmt::Write;

/// The width of every picture, in pixels.
pub(super) const WIDTH: f64 = 1000.0;
/// The size of the text, in pixels, unless a text has its own.
pub(super) const FONT: f64 = 13.0;
/// The colours and fonts, with a dark variant that the viewer selects.
const STYLE: &str = include_str!("style.css");

/// A picture.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// What it shows, in one line.
    pub(super) title: String,
    /// What it shows, for people who cannot see it.
    pub(super) description: String,
    pub(super) height: f64,
    /// Drawn in this order, below all texts.
    pub(super) shapes: Vec<Shape>,
    pub(super) texts: Vec<Text>,
}

/// A shape. `class` is a class of the style sheet, and `about` is shown when the pointer is on the shape.
#[derive(Debug)]
pub(super) enum Shape {
    Bar { left: f64, top: f64, width: f64, height: f64, class: &'static str, about: String },
    Line { from: (f64, f64), to: (f64, f64), class: &'static str },
    Diamond { centre: (f64, f64), class: &'static str, about: String },
}

/// Which end of a text is at its `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// One line of text.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) x: f64,
    /// The baseline.
    pub(super) y: f64,
    pub(super) anchor: Anchor,
    pub(super) size: f64,
    /// A class of the style sheet.
    pub(super) class: &'static str,
    pub(super) text: String,
}

impl Text {
    /// A text of the usual size that begins at a point.
    pub(super) fn at(x: f64, y: f64, class: &'static str, text: impl Into<String>) -> Text {
        Text { x, y, anchor: Anchor::Start, size: FONT, class, text: text.into() }
    }

    pub(super) fn anchored(self, anchor: Anchor) -> Text {
        Text { anchor, ..self }
    }

    pub(super) fn sized(self, size: f64) -> Text {
        Text { size, ..self }
    }

    /// The left and the right end, with the widest usual font.
    pub(super) fn extent(&self) -> (f64, f64) {
        let width = width(&self.text, self.size);
        match self.anchor {
            Anchor::Start => (self.x, self.x + width),
            Anchor::Middle => (self.x - width / 2.0, self.x + width / 2.0),
            Anchor::End => (self.x - width, self.x),
        }
    }
}

impl Picture {
    /// The SVG document.
    pub(super) fn to_svg(&self) -> String {
        let mut svg = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut svg);
        svg
    }

    fn write(&self, svg: &mut String) -> std::fmt::Result {
        let (height, title, description) = (self.height.ceil(), escaped(&self.title), escaped(&self.description));
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title description\">"
        )?;
        writeln!(svg, "<title id=\"title\">{title}</title>\n<desc id=\"description\">{description}</desc>")?;
        writeln!(svg, "<style>\n{STYLE}</style>\n{PATTERN}")?;
        writeln!(svg, "<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>")?;
        for shape in &self.shapes {
            write_shape(svg, shape)?;
        }
        for text in self.texts.iter().filter(|text| !text.text.is_empty()) {
            write_text(svg, text)?;
        }
        writeln!(svg, "</svg>")
    }
}

/// The stripes of a time in which something waits.
const PATTERN: &str = "<defs><pattern id=\"stripes\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
    patternTransform=\"rotate(45)\"><rect class=\"stripe\" width=\"3\" height=\"6\"/></pattern></defs>";

fn write_shape(svg: &mut String, shape: &Shape) -> std::fmt::Result {
    match shape {
        Shape::Bar { left, top, width, height, class, about } => {
            let about = about_element(about);
            writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
                 rx=\"1.5\">{about}</rect>"
            )
        }
        Shape::Line { from: (x1, y1), to: (x2, y2), class } => {
            writeln!(svg, "<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>")
        }
        Shape::Diamond { centre: (x, y), class, about } => {
            let about = about_element(about);
            writeln!(svg, "<path class=\"{class}\" d=\"M{x:.1} {:.1}l6 6l-6 6l-6 -6z\">{about}</path>", y - 6.0)
        }
    }
}

fn about_element(about: &str) -> String {
    if about.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(about)) }
}

fn write_text(svg: &mut String, text: &Text) -> std::fmt::Result {
    let anchor = match text.anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    let Text { x, y, size, class, .. } = text;
    let content = escaped(&text.text);
    writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\"{anchor}>{content}</text>")
}

/// Text as content of an XML element: without markup, and without characters that XML does not allow (XML 1.0, "Char")
/// or that change the direction of the text.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The width of a bold text in the widest usual font (DejaVu Sans), so that no text is wider. Characters outside of ASCII
/// count as wide as an emoji.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let ems = text.chars().map(|character| match character {
        'i' | 'j' | 'l' | 'I' | '|' | '.' | ',' | ':' | ';' | '\'' | '!' | ' ' => 0.40,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '-' | '/' | '\\' | 'J' => 0.50,
        'm' | 'M' | 'W' | '@' | '%' => 1.11,
        'w' | 'A'..='Z' | '#' | '&' | '+' | '=' | '<' | '>' | '~' | '^' => 0.93,
        ' '..='~' => 0.72,
        '\u{b5}' | '\u{b7}' | '\u{2026}' => 1.0,
        _ => 1.3,
    });
    ems.sum::<f64>() * size
}

/// The text in lines that fit, broken at blanks, and cut after `most` lines.
pub(super) fn wrapped(text: &str, size: f64, longest: f64, most: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        let is_last = lines.len() + 1 == most;
        if !line.is_empty() && !is_last && width(&format!("{line} {word}"), size) > longest {
            lines.push(fitted(&std::mem::take(&mut line), size, longest));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(fitted(&line, size, longest));
    lines
}

/// The text, cut so that it fits.
pub(super) fn fitted(text: &str, size: f64, longest: f64) -> String {
    if width(text, size) <= longest {
        return text.to_owned();
    }
    const MARK: &str = "\u{2026}";
    let mut cut = String::new();
    for character in text.chars() {
        cut.push(character);
        if width(&cut, size) + width(MARK, size) > longest {
            cut.pop();
            break;
        }
    }
    cut.trim_end().to_owned() + MARK
}
