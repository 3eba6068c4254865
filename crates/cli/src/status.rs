//! How a run ends: the last words, and the exit status.

use crate::exit::{Failure, Outcome};
use crate::out::Out;
use crate::render;
use crate::report::ErrorJson;
use std::process::ExitCode;

/// Says what is left to say and turns an outcome into an exit status.
pub(crate) fn code(outcome: Outcome, out: &mut Out) -> ExitCode {
    match outcome {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Refused) => {
            let _ = out.finish();
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            out.say(&format!("error: {message}\n\nFor more information, try '--help'."));
            ExitCode::from(2)
        }
        Err(Failure::Failed { report, file, told }) => {
            if out.json && !told {
                let _ = out.json(&serde_json::json!({ "error": ErrorJson::from(&*report) }));
            }
            let _ = out.finish();
            let text = render::report(&report, file.as_deref(), out.message_style());
            out.say(&text);
            ExitCode::FAILURE
        }
    }
}
