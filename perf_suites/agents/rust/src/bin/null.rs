//! The floor: a blocking socket, one thread an agent, no parsing, no report.

use llmperf_agents::{body, jobs, post, print_about, Error, Job};

fn agent(job: Job) -> Result<(), Error> {
    job.mark("begin")?;
    post(&job.base, "/api/generate", &body(&job.first_prompt()?)?)?;
    post(&job.base, "/api/generate", &body(job.second_prompt())?)?;
    job.mark("end")
}

fn main() -> Result<(), Error> {
    let threads: Vec<_> = jobs()?.into_iter().map(|job| std::thread::spawn(move || agent(job))).collect();
    for thread in threads {
        thread.join().map_err(|_| "an agent panicked")??;
    }
    print_about("null");
    Ok(())
}
