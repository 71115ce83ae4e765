//! The only place that prints: data on standard output, words on standard error.
//!
//! Colour is an addition for eyes at a terminal; every text says the same without it.
use super::Format;
use jiff::Timestamp;
use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{self, BufRead, IsTerminal, Write},
};

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// As it is.
    Plain,
    /// With colour.
    Colour,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Something is under way, or waited for.
    Busy,
    /// Something went wrong.
    Bad,
    /// A heading.
    Strong,
}

impl Paint {
    /// Colour for a terminal that can show it, unless the person asked for none (<https://no-color.org>).
    pub fn fit_for(stream: &impl IsTerminal) -> Self {
        let says = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = says("TERM").is_some_and(|term| term == "dumb");
        if stream.is_terminal() && says("NO_COLOR").is_none() && !dumb { Self::Colour } else { Self::Plain }
    }

    /// The text in this tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) => return text.to_owned(),
            (Self::Colour, Tone::Good) => 32,
            (Self::Colour, Tone::Busy) => 33,
            (Self::Colour, Tone::Bad) => 31,
            (Self::Colour, Tone::Strong) => 1,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// What standard output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// A terminal, on which text can be drawn over.
    Terminal,
    /// A file or pipe, to which lines are added.
    Stream,
}

/// Where everything is printed.
pub struct Screen<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    answers: Option<&'a mut dyn BufRead>,
    words: Paint,
    /// How data is coloured.
    pub paint: Paint,
    /// What data is printed on.
    pub surface: Surface,
}

impl<'a> Screen<'a> {
    /// The streams of this process.
    pub fn new(out: &'a mut io::Stdout, err: &'a mut io::Stderr, input: &'a mut io::StdinLock<'static>) -> Self {
        let words = Paint::fit_for(err);
        let paint = Paint::fit_for(out);
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let surface = if out.is_terminal() && !dumb { Surface::Terminal } else { Surface::Stream };
        let answers = input.is_terminal().then_some(input as &mut dyn BufRead);
        Self { out, err, answers, words, paint, surface }
    }

    /// Streams that nobody looks at.
    pub fn plain(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { out, err, answers: None, words: Paint::Plain, paint: Paint::Plain, surface: Surface::Stream }
    }

    /// The same, with a person who answers.
    #[cfg(test)]
    #[must_use]
    pub fn answered(mut self, answers: &'a mut dyn BufRead) -> Self {
        self.answers = Some(answers);
        self
    }

    /// Prints data.
    pub fn print(&mut self, text: &str) -> io::Result<()> {
        line(self.out, text)
    }

    /// Prints an object of the cluster as it is, but for the bookkeeping of its field owners.
    pub fn object(&mut self, object: &Value, format: Format) -> anyhow::Result<()> {
        let text = match format {
            Format::Yaml => serde_saphyr::to_string(object)?,
            Format::Json | Format::Wide => serde_json::to_string_pretty(object)?,
            Format::Name => reference(object),
        };
        Ok(self.print(&text)?)
    }

    /// Prints words about what is going on.
    pub fn say(&mut self, words: &str) -> io::Result<()> {
        line(self.err, words)
    }

    /// Draws a page over the last one, line by line, so that nothing flickers. What a terminal of this size has no room for
    /// is left out and counted, for a terminal that scrolls keeps the lines of every page that was drawn.
    pub fn redraw(&mut self, page: &str, size: Option<Size>) -> io::Result<()> {
        let mut text = String::from("\x1b[H");
        let (shown, hidden) = fitting(page, size);
        for line in shown {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        if hidden > 0 {
            let words = format!("({hidden} more lines: `status` prints them, or make the window larger)");
            let columns = size.map_or(usize::MAX, |size| size.columns);
            let _ = write!(text, "{}\x1b[K", cut(&words, columns));
        }
        text.push_str("\x1b[J");
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Empties the terminal before the first page.
    pub fn clear(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[2J")
    }

    /// Asks a person; nobody there is a yes, for who runs this without a terminal has decided already.
    pub fn ask(&mut self, question: &str) -> io::Result<Answer> {
        let Some(answers) = self.answers.as_deref_mut() else { return Ok(Answer::Yes) };
        write!(self.err, "{question} [y/N] ")?;
        self.err.flush()?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        Ok(if yes { Answer::Yes } else { Answer::No })
    }

    /// Prints what went wrong, and what to do about it.
    pub fn fail(&mut self, error: &str, hint: Option<&str>) -> io::Result<()> {
        let title = self.words.paint(Tone::Bad, "error:");
        line(self.err, &format!("{title} {}", plain(error)))?;
        if let Some(hint) = hint {
            let title = self.words.paint(Tone::Strong, "hint:");
            line(self.err, &format!("{title} {hint}"))?;
        }
        Ok(())
    }
}

/// An object's name as kubectl prints and takes it: `deployment.apps/checkout`.
pub fn reference(object: &Value) -> String {
    let text = |at: &str| plain(object.pointer(at).and_then(Value::as_str).unwrap_or_default());
    let group = text("/apiVersion").split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    format!("{}{group}/{}", text("/kind").to_ascii_lowercase(), text("/metadata/name"))
}

/// The size of a terminal, in letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many lines it shows.
    pub rows: usize,
    /// How many letters are on one.
    pub columns: usize,
}

impl Size {
    /// That of the terminal at which this process runs, if it can be known: `stty` is asked, for the standard library does
    /// not tell.
    pub fn of_terminal() -> Option<Self> {
        let terminal = std::fs::File::open("/dev/tty").ok()?;
        let mut stty = std::process::Command::new("stty");
        let told = stty.arg("size").stdin(terminal).stderr(std::process::Stdio::null()).output().ok()?;
        Self::read(std::str::from_utf8(&told.stdout).ok()?)
    }

    /// Rows and columns as `stty size` tells them; 0 is not known.
    fn read(text: &str) -> Option<Self> {
        let (rows, columns) = text.trim().split_once(' ')?;
        let (rows, columns) = (rows.parse().ok()?, columns.parse().ok()?);
        (rows > 0 && columns > 0).then_some(Self { rows, columns })
    }
}

/// The lines of a page that fit, and how many do not. A line that is longer than the terminal is wide takes several of its
/// rows; one row is left for the cursor, or for the number.
fn fitting(page: &str, size: Option<Size>) -> (Vec<&str>, usize) {
    let lines: Vec<&str> = page.lines().collect();
    let Some(Size { rows, columns }) = size else { return (lines, 0) };
    let mut left = rows.saturating_sub(1);
    let fits = |line: &&&str| {
        let takes = width(line).div_ceil(columns).max(1);
        let fits = takes <= left;
        left = left.saturating_sub(takes);
        fits
    };
    let shown = lines.iter().take_while(fits).count();
    let hidden = lines.len() - shown;
    (lines.into_iter().take(shown).collect(), hidden)
}

/// How many letters of a line are seen: colours are not.
fn width(line: &str) -> usize {
    let mut parts = line.split('\x1b');
    let plain = parts.next().map_or(0, |text| text.chars().count());
    plain + parts.map(|part| part.split_once('m').map_or(0, |(_, text)| text.chars().count())).sum::<usize>()
}

/// What a person answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Leave it.
    No,
}

/// Prints text that ends its line.
pub fn line(out: &mut dyn Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Text from the cluster on one line, without what a terminal would obey.
pub fn plain(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    one_line.chars().filter(|letter| !letter.is_control()).collect()
}

/// The first `most` letters of a text.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}

/// One field of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A field with a colour of its own.
    pub fn toned(text: impl Into<String>, tone: Option<Tone>) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: None }
    }
}

/// Rows with aligned columns, three blanks apart; the last column is as wide as it likes.
pub fn table(rows: &[Vec<Cell>], indent: &str, paint: Paint) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let blanks = if column + 1 == row.len() { 0 } else { width - cell.text.chars().count() + 3 };
            match cell.tone {
                Some(tone) => line.push_str(&paint.paint(tone, &cell.text)),
                None => line.push_str(&cell.text),
            }
            line.extend(std::iter::repeat_n(' ', blanks));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// How much time is between two moments, as kubectl says it: the longer ago, the rougher.
pub fn span(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let with = |whole: i64, unit: &str, rest: i64, rest_unit: &str| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{rest_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => with(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => with(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => with(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_their_colour() {
        let rows = vec![
            vec!["NAME".into(), "PHASE".into(), "MESSAGE".into()],
            vec!["a".into(), Cell::toned("Progressing", Some(Tone::Busy)), "x".into()],
        ];
        assert_eq!(table(&rows, "  ", Paint::Plain), "  NAME   PHASE         MESSAGE\n  a      Progressing   x\n");
        assert_eq!(
            table(&rows, "", Paint::Colour).lines().nth(1),
            Some("a      \x1b[33mProgressing\x1b[0m   x"),
            "the blanks are outside the colour"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_printed() {
        assert_eq!(plain("one\n two\t\x1b[31mthree\x07"), "one two [31mthree");
    }

    #[test]
    fn an_age_is_rougher_the_longer_ago_it_is() {
        let now = Timestamp::from_second(10_000_000).unwrap();
        let of = |seconds: i64| span(Timestamp::from_second(10_000_000 - seconds).unwrap(), now);
        let ages = [-5, 0, 119, 120, 150, 600, 10_799, 11_700, 30_000, 180_000, 864_000].map(of);
        assert_eq!(ages, ["0s", "0s", "119s", "2m", "2m30s", "10m", "179m", "3h15m", "8h", "2d2h", "10d"]);
    }

    #[test]
    fn a_cut_text_says_so() {
        assert_eq!((cut("as it is", 8).as_str(), cut("one letter more", 10).as_str()), ("as it is", "one let..."));
    }

    #[test]
    fn yaml_reads_back_as_the_same_object() {
        let object = serde_json::json!({"a": "yes", "b": ["1", 1, null, "x: y"], "c": {"d": "line\nline"}});
        let (mut out, mut err) = (Vec::new(), Vec::new());
        Screen::plain(&mut out, &mut err).object(&object, Format::Yaml).unwrap();
        let back: Value = serde_saphyr::from_slice(&out).unwrap();
        assert_eq!(back, object);
    }

    #[test]
    fn a_page_is_drawn_over_the_last_one() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        Screen::plain(&mut out, &mut err).redraw("one\ntwo", None).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J");
    }

    #[test]
    fn a_page_that_is_longer_than_the_terminal_does_not_make_it_scroll() {
        let drawn = |rows, columns| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let page = "one\n\x1b[1mtwo\x1b[0m and three\nfour\nfive\n";
            Screen::plain(&mut out, &mut err).redraw(page, Some(Size { rows, columns })).unwrap();
            String::from_utf8(out).unwrap()
        };
        let two = "\x1b[Hone\x1b[K\n\x1b[1mtwo\x1b[0m and three\x1b[K\n";
        let all = format!("{two}four\x1b[K\nfive\x1b[K\n\x1b[J");
        assert_eq!(drawn(5, 13), all, "colours take no room");
        let left_out =
            |number| format!("({number} more lines: `status` prints them, or make the window larger)\x1b[K\x1b[J");
        assert_eq!(drawn(3, 80), format!("{two}{}", left_out(2)), "never a line break in the last row");
        assert_eq!(drawn(1, 80), format!("\x1b[H{}", left_out(4)));
        assert_eq!(
            drawn(5, 12),
            format!("{two}four\x1b[K\n(1 more l...\x1b[K\x1b[J"),
            "the second line takes two rows"
        );
    }

    #[test]
    fn a_terminal_that_does_not_tell_its_size_is_taken_to_be_large_enough() {
        assert_eq!(Size::read("24 80\n"), Some(Size { rows: 24, columns: 80 }));
        for unknown in ["0 0\n", "", "stty: no", "24"] {
            assert_eq!(Size::read(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn only_a_yes_is_a_yes_and_nobody_is_one_too() {
        let ask = |answer: Option<&'static [u8]>| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut answers = answer.unwrap_or_default();
            let screen = Screen::plain(&mut out, &mut err);
            let mut screen = if answer.is_some() { screen.answered(&mut answers) } else { screen };
            screen.ask("really?").unwrap()
        };
        assert_eq!([ask(None), ask(Some(b"y\n")), ask(Some(b"Yes\n"))], [Answer::Yes; 3]);
        assert_eq!([ask(Some(b"\n")), ask(Some(b"")), ask(Some(b"n\n"))], [Answer::No; 3]);
    }
}
