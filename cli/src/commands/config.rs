//! `bedload config show`: which settings are in force, and where each came from.

use bedload::Result;
use bedload_snapshot::shown_address;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::context::{Answer, Context};
use crate::exit;
use crate::settings::Setting;
use crate::text::table;

/// Tells which settings are in force, and where each came from.
///
/// A flag goes before a variable of the environment (BEDLOAD_REPO for repo, and so on), that before bedload.toml, and that before what is
/// built in. Unknown keys and variables are errors.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    #[command(subcommand)]
    asked: Asked,
}

#[derive(Debug, Subcommand)]
enum Asked {
    /// Tells each setting's value and origin.
    Show,
}

#[derive(Serialize)]
struct Settings {
    settings: Vec<Setting>,
}

impl Answer for Settings {
    fn text(&self) -> String {
        let mut rows = vec![["setting", "value", "from"].map(str::to_owned).to_vec()];
        for Setting { name, value, origin, .. } in &self.settings {
            rows.push(vec![(*name).to_owned(), value.clone().unwrap_or_else(|| "-".to_owned()), origin.to_string()]);
        }
        let mut text = table(&rows);
        text.push('\n');
        for Setting { name, means, .. } in &self.settings {
            text.push_str(&format!("  {name}: {means}\n"));
        }
        text
    }
}

/// Runs the command; gives the exit code.
pub fn run(arguments: &ConfigArguments, context: &Context) -> Result<u8> {
    match arguments.asked {
        Asked::Show => {
            let shown = context.settings.all().iter().map(|setting| match (setting.name, &setting.value) {
                // One that is refused may hold credentials.
                ("repo", Some(address)) => Setting { value: Some(shown_address(address)), ..setting.clone() },
                _ => setting.clone(),
            });
            context.print(&Settings { settings: shown.collect() })?;
        }
    }
    Ok(exit::DONE)
}
