//! Child processes that cannot outlive the test: ended at drop, and by the kernel when the test process dies.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_until;

/// The unprivileged account (nobody) that servers run as when the tests run as root.
pub(crate) const UNPRIVILEGED: u32 = 65534;

/// A running child, ended by its own process id and never by name.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `program`; what it prints goes to the file `log`. The process dies with the test process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(program: &OsStr, args: &[OsString], envs: &[(String, String)], log: &Path) -> Result<Self> {
        let mut words = guarded(None);
        words.push(program.to_owned());
        words.extend_from_slice(args);
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        Self::spawn_words(&name, &words, envs, log)
    }

    /// Starts the words as they are; the caller has put [`guarded`] into them.
    pub(crate) fn spawn_words(
        name: &str,
        words: &[OsString],
        envs: &[(String, String)],
        log: &Path,
    ) -> Result<Self> {
        let (program, args) = words.split_first().context("nothing to start")?;
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        command.envs(envs.iter().map(|(key, value)| (key, value)));
        let child = launch(command).with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, once it has ended.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// SIGTERM: asks it to end.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::Term)
    }

    /// SIGHUP: asks a daemon to read its configuration again.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn hang_up(&self) -> Result<()> {
        self.signal(Signal::Hup)
    }

    /// SIGSTOP: the process keeps its sockets and answers nothing.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::Stop)
    }

    /// SIGCONT: ends a freeze.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::Cont)
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for the end of a process that was asked to end.
    ///
    /// # Errors
    /// When it has not ended within `timeout`.
    pub fn wait_ended(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {} (pid {})", self.name, self.pid());
        wait_until(&what, timeout, || self.ended())
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn memory_rss(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("no VmRSS in {path}: {} has ended", self.name))? * 1024)
    }

    /// How many descriptors it has open.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn open_fds(&self) -> Result<usize> {
        let path = format!("/proc/{}/fd", self.pid());
        Ok(std::fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?.count())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {} ({pid:?})", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL also ends a stopped process; one that has ended already is no fault.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The words before a program's own that make the kernel end it with the process that started it, and make it run
/// unprivileged if `user` is given.
///
/// setpriv asks for the signal after it has changed the user: a change of user would void it.
pub(crate) fn guarded(user: Option<u32>) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["setpriv", "--pdeathsig", "KILL"].map(OsString::from).to_vec();
    if let Some(id) = user {
        words.extend([format!("--reuid={id}"), format!("--regid={id}")].map(OsString::from));
        words.push("--clear-groups".into());
    }
    words.push("--".into());
    words
}

/// Who servers run as: nobody when we are root, else ourselves.
pub(crate) fn server_user() -> Option<u32> {
    rustix::process::geteuid().is_root().then_some(UNPRIVILEGED)
}

/// Runs a program to its end and gives back what it printed.
///
/// # Errors
/// When it cannot be started or fails; the message has the last of what it said.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {shown}"))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        bail!("{shown}: {}: {}", describe(output.status), tail(&text, 15));
    }
    Ok(text)
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// An exit status in words.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

type Job = (Command, Sender<std::io::Result<Child>>);

/// Starts the command from a thread that lives as long as the process: the kernel takes the *thread* that started a
/// child for its parent, so a child started by a passing thread would die with it.
///
/// It gets a process group of its own: a Ctrl-C at the terminal is for us alone, who then end it in good order.
fn launch(mut command: Command) -> Result<Child> {
    static LAUNCHER: OnceLock<Sender<Job>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (sender, receiver) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in receiver {
                // The asker waits for the reply; if it is gone all the same, the child goes with the channel.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    command.process_group(0);
    let (reply, answer) = channel();
    launcher.send((command, reply)).map_err(|_| anyhow!("the launching thread has ended"))?;
    Ok(answer.recv().context("the launching thread has ended")??)
}
