//! Command lines, word by word.

use crate::exit::{Failure, Outcome};

/// What is left of a command line.
#[derive(Clone, Debug)]
pub(crate) struct Words<'a> {
    rest: &'a [String],
}

impl<'a> Words<'a> {
    pub(crate) fn new(words: &'a [String]) -> Self {
        Self { rest: words }
    }

    /// The next word, left where it is.
    pub(crate) fn peek(&self) -> Option<&'a str> {
        self.rest.first().map(String::as_str)
    }

    /// Takes the next word.
    pub(crate) fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// Takes the word that belongs to `of`.
    pub(crate) fn value(&mut self, of: &str) -> Outcome<&'a str> {
        self.next().ok_or_else(|| usage(format!("`{of}` needs a word after it")))
    }

    /// Takes the next word if it is exactly `word`.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        let taken = self.peek() == Some(word);
        if taken {
            self.next();
        }
        taken
    }

    /// All that is left.
    pub(crate) fn rest(&self) -> &'a [String] {
        self.rest
    }

    /// Fails if anything is left.
    pub(crate) fn end(&self) -> Outcome {
        match self.peek() {
            None => Ok(()),
            Some(word) => Err(usage(format!("`{word}` is not understood here"))),
        }
    }
}

/// iproute2's `matches()`: any beginning of the full word stands for it.
pub(crate) fn matches(word: &str, full: &str) -> bool {
    !word.is_empty() && full.starts_with(word)
}

/// A wrong command line.
pub(crate) fn usage(why: impl Into<String>) -> Failure {
    Failure::Usage(why.into())
}

/// Puts a value in place, once.
pub(crate) fn once<T>(place: &mut Option<T>, value: T, word: &str) -> Outcome {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(usage(format!("`{word}` is given twice"))),
    }
}

/// A number of at most 32 bits, decimal, `0x` hexadecimal or `0` octal, as strtoul reads it with base 0.
pub(crate) fn number(word: &str, of: &str) -> Outcome<u32> {
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if word.len() > 1 && word.starts_with('0') => (word, 8),
        None => (word, 10),
    };
    let number = u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'));
    number.ok_or_else(|| usage(format!("`{of} {word}`: not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_in_turn() {
        let line = ["dev".to_owned(), "eth0".to_owned(), "x".to_owned()];
        let mut words = Words::new(&line);
        assert!(!words.take("device"));
        assert!(words.take("dev"));
        assert_eq!(words.value("dev").unwrap(), "eth0");
        assert!(words.end().is_err());
        assert_eq!(words.next(), Some("x"));
        assert!(words.end().is_ok() && words.value("x").is_err());
    }

    #[test]
    fn beginnings_match() {
        assert!(matches("f", "filter") && matches("filter", "filter"));
        assert!(!matches("", "filter") && !matches("filters", "filter"));
    }

    #[test]
    fn numbers_have_three_bases() {
        let read = |word| number(word, "prio").ok();
        assert_eq!(
            (read("10"), read("0x10"), read("010"), read("0")),
            (Some(10), Some(16), Some(8), Some(0))
        );
        assert_eq!(
            (read(""), read("-1"), read("+1"), read("0x"), read("9x")),
            (None, None, None, None, None)
        );
    }
}
