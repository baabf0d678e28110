//! What administrators and users meet: settings, errors, functions, installation.

mod cases;
mod catalogue;
mod configuration_files;
mod explain;
mod hidden_values;
mod hostile_schema;
mod installation;
mod licences;
mod logged_statements;
mod mistakes;
mod mistakes_not_made;
mod not_configured;
mod privileges;
mod rejections;
mod rls;
mod secrets;
mod settings;
