//! The terminal of a live view: the alternate screen, keys, and the terminal as it was on every way out.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{panic, thread};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal::{
    disable_raw_mode, enable_raw_mode, size, BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap,
    EnableLineWrap, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
};
use crossterm::{execute, queue};
use rustix::process::{getpid, kill_process, Signal};
use signal_hook::consts::{SIGQUIT, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// Whether the terminal is ours now.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// The terminal while it shows a live view. The terminal is as it was before once this value is dropped, also by a
/// panic.
#[derive(Debug)]
pub(crate) struct Screen(());

/// What somebody has done at the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The view is to end.
    Quit,
    /// The view is to end, as by SIGINT.
    Interrupt,
    /// The view is to be drawn again.
    Redraw,
}

impl Screen {
    /// Whether there is a terminal to draw on.
    pub(crate) fn is_there() -> bool {
        io::stdout().is_terminal()
    }

    /// Takes the terminal, and gives it back on every way out: SIGKILL alone leaves it as it is.
    ///
    /// # Errors
    /// As of the terminal.
    pub(crate) fn open() -> io::Result<Self> {
        let mut signals = Signals::new([SIGQUIT, SIGTSTP])?;
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // The message of the panic would vanish with the alternate screen.
            leave();
            before(info);
        }));
        thread::Builder::new().name("terminal".into()).spawn(move || {
            for signal in signals.forever() {
                let was_ours = leave();
                // A SIGTSTP comes back from here once the shell has brought this program to the foreground.
                let _ = emulate_default_handler(signal);
                if was_ours {
                    let _ = enter();
                }
            }
        })?;
        let screen = Self(());
        enter()?;
        Ok(screen)
    }

    /// Draws a text from the top: as much as there is room for.
    pub(crate) fn draw(&mut self, text: &str) {
        // A view that the shell has put into the background draws again when it is back.
        if !IS_OURS.load(Ordering::Acquire) {
            return;
        }
        let (_, height) = size().unwrap_or((80, 24));
        // Where somebody has closed the terminal there is nothing to draw on, and SIGHUP ends this program.
        let _ = frame(&mut io::stdout().lock(), text, height.into());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Writes one drawing between two marks. A terminal that knows the marks shows no half of a drawing.
fn frame(out: &mut impl Write, text: &str, height: usize) -> io::Result<()> {
    let lines: Vec<_> = text.lines().collect();
    let most = if lines.len() > height { height.saturating_sub(1) } else { height };
    let mut drawn = Vec::new();
    queue!(drawn, BeginSynchronizedUpdate, MoveTo(0, 0))?;
    for (row, line) in lines.iter().take(most).enumerate() {
        let end = if row + 1 == height { "" } else { "\r\n" };
        write!(drawn, "{line}")?;
        queue!(drawn, Clear(ClearType::UntilNewLine))?;
        write!(drawn, "{end}")?;
    }
    if lines.len() > most {
        write!(drawn, "and {} lines more", lines.len() - most)?;
        queue!(drawn, Clear(ClearType::UntilNewLine))?;
    } else if lines.len() < height {
        queue!(drawn, Clear(ClearType::FromCursorDown))?;
    }
    queue!(drawn, EndSynchronizedUpdate)?;
    out.write_all(&drawn)?;
    out.flush()
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    IS_OURS.store(true, Ordering::Release);
    execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)
}

/// Gives the terminal back, and returns whether it was ours.
fn leave() -> bool {
    let was_ours = IS_OURS.swap(false, Ordering::AcqRel);
    if was_ours {
        let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
    was_ours
}

/// What is typed from now on. It ends when the terminal is gone.
///
/// # Errors
/// Where no thread can be started.
pub(crate) fn inputs() -> io::Result<UnboundedReceiver<Input>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::Builder::new().name("keys".into()).spawn(move || {
        while let Ok(event) = event::read() {
            if input(&event).is_some_and(|input| sender.send(input).is_err()) {
                return;
            }
        }
    })?;
    Ok(receiver)
}

fn input(event: &Event) -> Option<Input> {
    let key = match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        Event::Resize(..) => return Some(Input::Redraw),
        _ => return None,
    };
    match (key.code, key.modifiers.contains(KeyModifiers::CONTROL)) {
        (KeyCode::Char('q' | 'Q') | KeyCode::Esc, false) => Some(Input::Quit),
        (KeyCode::Char('c'), true) => Some(Input::Interrupt),
        (KeyCode::Char('l'), true) => Some(Input::Redraw),
        (KeyCode::Char('z'), true) => {
            let _ = kill_process(getpid(), Signal::TSTP);
            Some(Input::Redraw)
        }
        (KeyCode::Char('\\' | '4'), true) => {
            let _ = kill_process(getpid(), Signal::QUIT);
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a drawing writes between its two marks.
    fn drawn(text: &str, height: usize) -> Option<String> {
        let mut out = Vec::new();
        frame(&mut out, text, height).ok()?;
        let written = String::from_utf8(out).ok()?;
        Some(written.strip_prefix("\x1b[?2026h\x1b[1;1H")?.strip_suffix("\x1b[?2026l")?.to_owned())
    }

    #[test]
    fn a_text_that_fits_is_drawn_whole_and_what_was_below_is_cleared() {
        let drawn = drawn("one\ntwo", 4);
        assert_eq!(drawn.as_deref(), Some("one\x1b[K\r\ntwo\x1b[K\r\n\x1b[J"));
    }

    #[test]
    fn a_text_that_is_too_long_tells_how_much_more_there_is() {
        assert_eq!(drawn("1\n2\n3\n4", 3).as_deref(), Some("1\x1b[K\r\n2\x1b[K\r\nand 2 lines more\x1b[K"));
        assert_eq!(drawn("1\n2\n3", 3).as_deref(), Some("1\x1b[K\r\n2\x1b[K\r\n3\x1b[K"));
    }
}
