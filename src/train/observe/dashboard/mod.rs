//! A run in the terminal: this file has the terminal and the keys, `view` what is shown.

mod view;

use crate::train::{Control, Event, Observer, ObserverError, ProgressLine};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use view::View;

/// Time between two pictures: drawing takes about a millisecond.
const REFRESH: Duration = Duration::from_millis(200);

/// Shows a run in the whole terminal: loss curve, learning rate, figures, speed, time left, plan. `q` or Ctrl-C ends the
/// run after the step, a second Ctrl-C at once; keys are read at every event.
///
/// The terminal is given back when the run ends, with or without an error, when this is dropped, and when the program
/// panics. Where standard input or output is no terminal, it is a [`ProgressLine`].
#[derive(Debug, Default)]
pub struct Dashboard {
    screen: Screen,
    view: View,
    start: Option<Instant>,
    drawn: Option<Instant>,
}

#[derive(Debug, Default)]
enum Screen {
    /// No run has begun, or it has ended.
    #[default]
    Closed,
    Open(DefaultTerminal),
    Line(Box<ProgressLine>),
}

impl Dashboard {
    /// Takes the terminal at the first event of a run.
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&mut self) {
        let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        // It gives the terminal back on a panic, too.
        self.screen = match is_terminal.then(ratatui::try_init) {
            Some(Ok(terminal)) => Screen::Open(terminal),
            _ => Screen::Line(Box::default()),
        };
    }

    fn close(&mut self) {
        if let Screen::Open(_) = std::mem::take(&mut self.screen) {
            // There is no better place to say that this failed than the terminal itself.
            ratatui::try_restore().ok();
        }
    }

    /// Draws, unless it has just been done.
    fn draw(&mut self, at_once: bool) -> Result<(), ObserverError> {
        let Screen::Open(terminal) = &mut self.screen else { return Ok(()) };
        if !at_once && self.drawn.is_some_and(|drawn| drawn.elapsed() < REFRESH) {
            return Ok(());
        }
        self.view.seconds = self.start.map_or(0.0, |start| start.elapsed().as_secs_f64());
        terminal.draw(|frame| self.view.draw(frame))?;
        self.drawn = Some(Instant::now());
        Ok(())
    }

    fn keys(&mut self) -> Result<(), ObserverError> {
        while matches!(self.screen, Screen::Open(_)) && event::poll(Duration::ZERO)? {
            let event::Event::Key(key) = event::read()? else { continue };
            match pressed(key) {
                Some(Pressed::Stop) => self.view.is_stopping = true,
                Some(Pressed::Interrupt) if !self.view.is_stopping => self.view.is_stopping = true,
                Some(Pressed::Interrupt) => {
                    self.close();
                    signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGINT)?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
enum Pressed {
    Stop,
    Interrupt,
}

fn pressed(key: KeyEvent) -> Option<Pressed> {
    match key.code {
        // Some terminals tell of a release, too.
        _ if key.kind == KeyEventKind::Release => None,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Pressed::Interrupt),
        KeyCode::Char('q' | 'Q') => Some(Pressed::Stop),
        _ => None,
    }
}

impl Observer for Dashboard {
    fn on(&mut self, event: &Event<'_>) -> Result<Control, ObserverError> {
        let is_over = matches!(event, Event::End { .. } | Event::Failed { .. });
        if matches!(self.screen, Screen::Closed) && !is_over {
            self.open();
            self.start = Some(Instant::now());
        }
        if let Screen::Line(line) = &mut self.screen {
            return line.on(event);
        }
        self.view.on(event);
        if is_over {
            self.close();
            *self = Self::default();
            return Ok(Control::Continue);
        }
        self.keys()?;
        self.draw(!matches!(event, Event::Step(_) | Event::Caching { .. }))?;
        Ok(if self.view.is_stopping { Control::Stop } else { Control::Continue })
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        // On a panic it has been given back; once more would move the cursor onto the message.
        if !std::thread::panicking() {
            self.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Fit, Report};

    #[test]
    fn keys_that_end_a_run() {
        let key = |code, modifiers| pressed(KeyEvent::new(code, modifiers));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Pressed::Stop));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Pressed::Interrupt));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        let mut released = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        released.kind = KeyEventKind::Release;
        assert_eq!(pressed(released), None);
    }

    #[test]
    fn without_a_terminal_it_is_a_line() {
        // Tests run with their output taken; where they do not, there is nothing to look at here.
        if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
            return;
        }
        let mut dashboard = Dashboard::new();
        let (config, report) = (Fit::default(), Report::default());
        dashboard.on(&Event::Start { steps: 3, epochs: 1, examples: 9, config: &config }).unwrap();
        assert!(matches!(dashboard.screen, Screen::Line(_)));
        dashboard.on(&Event::End { report: &report }).unwrap();
    }
}
