//! A bare Rocket with one route: the same bytes, headers and log line, and nothing else.

use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use rocket::config::{Config, Ident, LogLevel};
use rocket::fairing::AdHoc;
use rocket::http::{Header, Method, Status};
use rocket::route::{Handler, Outcome, Route};
use rocket::shield::Shield;
use rocket::{Data, Request, Response};

use barmanapi::{redact, settings, telemetry};

/// The answer, fixed before the first request.
#[derive(Clone)]
struct Fixed {
    headers: Arc<Vec<(String, String)>>,
    body: Arc<Vec<u8>>,
}

#[rocket::async_trait]
impl Handler for Fixed {
    async fn handle<'r>(&self, request: &'r Request<'_>, _: Data<'r>) -> Outcome<'r> {
        let mut response = Response::new();
        response.set_status(Status::Ok);
        for (name, value) in self.headers.iter() {
            response.set_header(Header::new(name.clone(), value.clone()));
        }
        response.set_sized_body(self.body.len(), Cursor::new(self.body.to_vec()));
        let from = request.client_ip().map(|from| from.to_string());
        tracing::info!(
            method = "GET",
            route = "/auth/user",
            status = 200,
            duration_ms = 0,
            user = "bench",
            from = from.as_deref(),
            request_id = "000000000000000000000000",
            "request answered"
        );
        Outcome::Success(response)
    }
}

/// Serves the answer in the file of the first argument, logging as the configuration of the second
/// says into the folder of the third.
pub fn serve(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let answer = std::fs::read_to_string(arguments.next().unwrap()).unwrap();
    let settings = settings::load(&PathBuf::from(arguments.next().unwrap())).unwrap();
    let logs = PathBuf::from(arguments.next().unwrap());
    telemetry::to_file(&telemetry::Options {
        path: logs.join("general.log"),
        max_bytes: settings.log.max_bytes,
        backup_count: settings.log.backup_count,
        debug: settings.application.debug,
        mask: redact::text,
    })
    .unwrap();
    // Rocket tells of every request in lines of its own; here it writes the one line and no more.
    log::set_max_level(log::LevelFilter::Off);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let headers: Vec<_> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| !["content-length", "date", "connection"].contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let fixed = Fixed {
        headers: Arc::new(headers),
        body: Arc::new(body.as_bytes().to_vec()),
    };
    let config = Config {
        port: 0,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        ident: Ident::none(),
        ip_header: None,
        log_level: LogLevel::Off,
        ..Config::release_default()
    };
    let liftoff = AdHoc::on_liftoff("bound", |rocket| {
        Box::pin(async move {
            println!("listening on http://127.0.0.1:{}", rocket.config().port);
            std::io::stdout().flush().unwrap();
        })
    });
    let rocket = rocket::custom(config)
        .attach(Shield::new())
        .attach(liftoff)
        .mount("/", vec![Route::new(Method::Get, "/auth/user", fixed)]);
    drop(rocket::execute(rocket.launch()).unwrap());
    ExitCode::SUCCESS
}
