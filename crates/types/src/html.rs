//! Text in pages that the gateway makes.

/// A text that is nothing but text, in an element or a quoted attribute of HTML.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_mean_more_than_itself_is_written_by_name() {
        assert_eq!(
            escaped("a<b> & \"c\" 'd' é"),
            "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39; é"
        );
    }
}
