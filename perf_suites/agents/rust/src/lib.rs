//! The specification of SPEC.md, apart from its HTTP client and its runtime: a binary supplies `ask`.

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[cfg(feature = "runtimes")]
pub mod native_client;
#[cfg(feature = "runtimes")]
pub mod reqwest_client;

pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What the command line and the environment ask for.
#[derive(Clone)]
pub struct Job {
    pub name: String,
    pub base: String,
    pub files: Option<PathBuf>,
    pub report: Option<PathBuf>,
}

impl Job {
    /// Posts a mark to the tap if it reads marks; a server that does not know it answers 404, which is no error.
    pub fn mark(&self, mark: &str) -> Result<(), Error> {
        if env::var("LLMPERF_MARKS").as_deref() != Ok("1") {
            return Ok(());
        }
        post(&self.base, &format!("/llmperf/{mark}"), "").map(drop)
    }

    /// Scans and reads the folder, if there is one, and returns the first prompt.
    pub fn first_prompt(&self) -> Result<String, Error> {
        Ok(match &self.files {
            Some(folder) => format!("Readings of {}. What stands out is", ingest(folder)?),
            None => "Describe the readings.".to_owned(),
        })
    }

    /// Does not depend on the first answer, so that every run does the same work.
    pub fn second_prompt(&self) -> &'static str {
        match self.files {
            Some(_) => "Write the report. The readings show",
            None => "In one sentence, the readings show",
        }
    }

    pub fn write_report(&self, analysis: &str, report: &str) -> Result<(), Error> {
        if let Some(folder) = &self.report {
            let text = format!("# Report\n\n## Analysis\n\n{analysis}\n\n## Report\n\n{report}\n");
            fs::write(folder.join(format!("{}.md", self.name)), text)?;
        }
        Ok(())
    }
}

/// One agent for each name in LLMPERF_AGENTS, or a single one at LLMPERF_BASE_URL.
pub fn jobs() -> Result<Vec<Job>, Error> {
    let mut words = env::args().skip(1);
    let files = match words.next().as_deref() {
        Some("plain") => None,
        Some("workflow") => Some(PathBuf::from(words.next().ok_or("workflow needs a folder")?)),
        _ => return Err("usage: plain [REPORTS] | workflow FOLDER [REPORTS]".into()),
    };
    let report = words.next().map(PathBuf::from);
    let names = env::var("LLMPERF_AGENTS").unwrap_or_default();
    let job = |name: &str, variable: &str| -> Result<Job, Error> {
        let base = env::var(variable).map_err(|_| format!("{variable} is not set"))?;
        Ok(Job { name: name.to_owned(), base, files: files.clone(), report: report.clone() })
    };
    if names.is_empty() {
        return Ok(vec![job("agent", "LLMPERF_BASE_URL")?]);
    }
    names.split(',').map(|name| job(name, &format!("LLMPERF_BASE_URL_{}", name.to_uppercase()))).collect()
}

/// Runs one agent; `ask` posts a body to an address and returns the text of the streamed answer.
pub async fn run<F, Fut>(job: Job, ask: F) -> Result<(), Error>
where
    F: Fn(String, String) -> Fut,
    Fut: Future<Output = Result<String, Error>>,
{
    job.mark("begin")?;
    let first = ask(job.base.clone(), body(&job.first_prompt()?)?).await?;
    let second = ask(job.base.clone(), body(job.second_prompt())?).await?;
    job.write_report(&first, &second)?;
    job.mark("end")
}

pub fn print_about(runtime: &str) {
    let about = serde_json::json!({"language": "rust", "runtime": runtime, "version": env!("CARGO_PKG_VERSION")});
    println!("{about}");
}

/// The body of a request; its prompt begins unlike any other.
pub fn body(prompt: &str) -> Result<String, Error> {
    let model = env::var("LLMPERF_MODEL")?;
    let tokens: u32 = env::var("LLMPERF_NUM_PREDICT").unwrap_or_else(|_| "32".to_owned()).parse()?;
    let prompt = format!("{} {prompt}", unique()?);
    let options = serde_json::json!({"num_predict": tokens, "seed": 42});
    Ok(serde_json::json!({"model": model, "prompt": prompt, "stream": true, "options": options}).to_string())
}

fn unique() -> io::Result<String> {
    let mut bytes = [0u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Collects the text of a stream of JSON lines, whatever pieces it arrives in.
#[derive(Default)]
pub struct Answer {
    rest: Vec<u8>,
    text: String,
}

impl Answer {
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.rest.extend_from_slice(piece);
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let value: serde_json::Value = serde_json::from_slice(&line)?;
            if let Some(error) = value["error"].as_str() {
                return Err(error.into());
            }
            self.text.push_str(value["response"].as_str().unwrap_or(""));
        }
        Ok(())
    }

    pub fn into_text(self) -> String {
        self.text
    }
}

fn ingest(folder: &Path) -> Result<String, Error> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    let (mut rates, mut configurations, mut words) = (Vec::new(), 0, 0);
    for file in &files {
        match file.extension().and_then(|end| end.to_str()) {
            Some("csv") => {
                let text = fs::read_to_string(file)?;
                let mut lines = text.lines();
                let header = lines.next().unwrap_or("");
                let column = header.split(',').position(|name| name == "tok_s").ok_or("no column tok_s")?;
                for line in lines {
                    rates.push(line.split(',').nth(column).ok_or("short row")?.parse::<f64>()?);
                }
            }
            Some("json") => {
                let value: serde_json::Value = serde_json::from_slice(&fs::read(file)?)?;
                value["name"].as_str().ok_or("no name")?;
                configurations += 1;
            }
            Some("md") => words += fs::read_to_string(file)?.split_whitespace().count(),
            _ => {}
        }
    }
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    Ok(format!("{} runs of {configurations} configurations: mean {mean:.1} tok/s, {words} words", rates.len()))
}

/// Posts over a blocking connection of its own and returns the raw answer.
pub fn post(base: &str, path: &str, body: &str) -> Result<Vec<u8>, Error> {
    let host = base.trim_start_matches("http://").trim_end_matches('/');
    let mut socket = TcpStream::connect(host)?;
    socket.set_nodelay(true)?;
    let length = body.len();
    write!(
        socket,
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    Ok(answer)
}
