//! Text filled up with spaces. `format!("{text:<width$}")` does it too, but panics when the width is above 65,535 (Rust 1.87),
//! and one label can be as wide as that.

/// `text` and spaces, `width` letters together; one that is longer stays as it is.
pub(crate) fn right(text: &str, width: usize) -> String {
    format!("{text}{}", spaces(text, width))
}

/// Spaces and `text`, `width` letters together; one that is longer stays as it is.
pub(crate) fn left(text: &str, width: usize) -> String {
    format!("{}{text}", spaces(text, width))
}

fn spaces(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(text.chars().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted_and_no_width_is_too_wide() {
        assert_eq!((right("é", 3), left("é", 3), right("long", 3)), ("é  ".into(), "  é".into(), "long".into()));
        assert_eq!((right("a", 70_000).len(), left("a", 70_000).len()), (70_000, 70_000));
    }
}
