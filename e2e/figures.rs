//! Figures: one line each, for people to read and for documents to quote.
use std::{fs::OpenOptions, io::Write};

/// Prints a figure, whatever the test harness does with output, and appends it to the file of `BELLWETHER_FIGURES`.
pub fn figure(story: &str, text: &str) {
    let line = format!("FIGURE {story}: {text}\n");
    // One write each, so that lines of stories that run side by side do not mix.
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    if let Some(file) = std::env::var_os("BELLWETHER_FIGURES") {
        let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
