//! A child that speaks none of our protocols: started, read, watched over and ended as any other.

use functions::runtime::{Exit, InstanceSpec, Usage};
use futures::future::BoxFuture;
use std::{ffi::OsString, io, path::PathBuf, process::Stdio, sync::Arc, time::Duration};
use tokio::time::timeout;

use super::{Children, DRAIN, End, Lines, Process, Reads, capture, environment, exit, mark, spawn};
use spawn::Program;

/// See the module. Dropped, it is killed.
pub(crate) struct Bare {
    process: Process,
    lines: Lines,
    /// Reads what it prints; gone when it has closed both streams.
    print: Option<BoxFuture<'static, ()>>,
}

impl Children {
    /// Starts a program as an instance.
    ///
    /// # Errors
    /// It cannot be run.
    pub(crate) async fn start_bare(
        &self,
        program: PathBuf,
        args: Vec<OsString>,
        env: Vec<(OsString, OsString)>,
        instance: &InstanceSpec,
    ) -> io::Result<Bare> {
        let mark = mark();
        let cage = self.limits.cage(&mark, &instance.function.limits);
        let work_dir = instance.work_dir.clone();
        tokio::fs::create_dir_all(&work_dir).await?;
        let mut environment = environment(&mark, &work_dir, instance);
        environment.extend(env);
        let program = Program {
            program,
            args,
            env: environment,
            work_dir,
            stdin: Stdio::null(),
            stdout: Stdio::piped(),
            channel: None,
        };
        let mut child = spawn::spawn(program, &cage).await?;
        let lines = Lines::default();
        let mut stdout = child.stdout.take().map(|stdout| Box::new(stdout) as Reads);
        let mut stderr = child.stderr.take().map(|stderr| Box::new(stderr) as Reads);
        let printed = lines.clone();
        let print = async move { capture(&printed, &mut stdout, &mut stderr).await };
        Ok(Bare { process: Process::new(child, cage, &mark), lines, print: Some(Box::pin(print)) })
    }
}

impl Bare {
    /// Number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Measures what it takes.
    pub(crate) fn usage(&self) -> Arc<dyn Usage> {
        self.process.cage.usage(self.process.pid)
    }

    /// What it has printed.
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Waits until it ends by itself, or has to. Safe to be dropped while it waits.
    pub(crate) async fn over(&mut self) -> End {
        let Self { process, print, .. } = self;
        loop {
            tokio::select! {
                () = async { if let Some(print) = print { print.await } }, if print.is_some() => *print = None,
                limit = process.cage.exceeded(process.pid) => return End::Limit(limit),
                status = process.child.wait() => return End::Exited(status),
            }
        }
    }

    /// Asks it to end, and waits for that as long as it may take.
    pub(crate) async fn stop(&mut self, patience: Duration) -> End {
        spawn::terminate(self.process.pid);
        let _ = timeout(patience, self.over()).await;
        End::Stopped
    }

    /// Ends what is left of it, and says how it ended. What it printed can be taken afterwards.
    pub(crate) async fn end(&mut self, why: End) -> Exit {
        let status = match &why {
            End::Exited(Ok(status)) => Some(*status),
            _ => None,
        };
        let limit = self.process.cage.killed();
        self.process.kill().await;
        if let Some(print) = self.print.take() {
            let _ = timeout(DRAIN, print).await;
        }
        exit(why, status, limit, &self.lines, true)
    }
}
