//! This very program in a process of its own, that does what it is told line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The process, from outside. Ends with it.
pub(crate) struct StandIn {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl StandIn {
    /// Starts it with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the server's process: {error}"))?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(orders), Some(answers)) = (orders, answers) else { return Err("no pipes".into()) };
        Ok(Self { child, orders, answers: BufReader::new(answers) })
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(length) if length > 0 => Ok(line.trim_end().to_owned()),
            _ => Err("the server's process has ended".into()),
        }
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, order: &str) -> Result<(), String> {
        writeln!(self.orders, "{order}").map_err(|_| "the server's process has ended".to_owned())
    }

    /// Asks it something that it answers with a line.
    pub(crate) fn ask(&mut self, order: &str) -> Result<String, String> {
        self.tell(order)?;
        self.line()
    }

    /// Where the system keeps what it knows of the process.
    pub(crate) fn proc(&self) -> String {
        format!("/proc/{}", self.child.id())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory in bytes of the process whose directory under /proc it is; 0 where there is none.
pub(crate) fn resident(proc: &str) -> u64 {
    let text = std::fs::read_to_string(format!("{proc}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Open descriptors of the process whose directory under /proc it is; 0 where there is none.
pub(crate) fn descriptors(proc: &str) -> u64 {
    std::fs::read_dir(format!("{proc}/fd")).map_or(0, |entries| entries.count() as u64)
}
