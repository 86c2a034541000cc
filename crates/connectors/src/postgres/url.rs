//! `jdbc:postgresql://host:port/database?user=...`, as PostgreSQL's JDBC driver documents it, as far as it makes sense here.

use tokio_postgres::Config;

/// # Errors
/// What is wrong with it, without the password that may be in it.
pub(crate) fn parse(url: &str) -> Result<Config, String> {
    let form = || "`jdbcUrl` must be jdbc:postgresql://HOST:PORT/DATABASE".to_owned();
    let rest = url.strip_prefix("jdbc:postgresql://").ok_or_else(form)?;
    let parsed =
        reqwest::Url::parse(&format!("postgresql://{rest}")).map_err(|error| format!("{}: {error}", form()))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("`jdbcUrl`: name and password go into `userName` and `password`".to_owned());
    }
    let mut config = Config::new();
    let host = parsed.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost");
    config.host(host.trim_start_matches('[').trim_end_matches(']')).port(parsed.port().unwrap_or(5432));
    let database = decoded(parsed.path().trim_start_matches('/'));
    if !database.is_empty() {
        config.dbname(database);
    }
    config.application_name("geminga");
    for (name, value) in parsed.query_pairs() {
        match &*name {
            "user" => drop(config.user(&*value)),
            "password" => drop(config.password(&*value)),
            "ApplicationName" => drop(config.application_name(&*value)),
            "currentSchema" if value.chars().all(|c| c.is_alphanumeric() || "_,".contains(c)) => {
                config.options(format!("-c search_path={value}"));
            }
            "sslmode" if matches!(&*value, "disable" | "allow" | "prefer") => {}
            "sslmode" | "ssl" => return Err("`jdbcUrl`: TLS is not supported yet, only sslmode=disable".to_owned()),
            other => {
                let known = ["user", "password", "ApplicationName", "currentSchema", "sslmode"];
                let hint = model::function::nearest(other, &known).map(|near| format!(", did you mean `{near}`?"));
                return Err(format!("`jdbcUrl`: unknown parameter `{other}`{}", hint.unwrap_or_default()));
            }
        }
    }
    Ok(config)
}

fn decoded(text: &str) -> String {
    // A query is what the crate decodes; a path has no `+` for a space.
    let query = format!("x:?{}", text.replace('+', "%2B").replace('&', "%26"));
    let url = reqwest::Url::parse(&query).ok();
    url.and_then(|url| url.query_pairs().next().map(|(name, _)| name.into_owned())).unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_postgres::config::Host;

    #[test]
    fn what_a_jdbc_driver_takes_is_taken() {
        let config =
            parse("jdbc:postgresql://db.example:5433/my%20db?user=u&password=p&currentSchema=s&sslmode=disable")
                .unwrap();
        assert_eq!(config.get_hosts(), [Host::Tcp("db.example".to_owned())]);
        assert_eq!(
            (config.get_ports(), config.get_dbname(), config.get_user()),
            (&[5433][..], Some("my db"), Some("u"))
        );
        assert_eq!((config.get_password(), config.get_options()), (Some(&b"p"[..]), Some("-c search_path=s")));
        assert_eq!(parse("jdbc:postgresql://h/").unwrap().get_ports(), [5432]);
    }

    #[test]
    fn what_it_would_ignore_is_told() {
        let told = |url: &str| parse(url).unwrap_err();
        assert_eq!(told("jdbc:mysql://h/d"), "`jdbcUrl` must be jdbc:postgresql://HOST:PORT/DATABASE");
        assert_eq!(told("jdbc:postgresql://h/d?ssl=true"), "`jdbcUrl`: TLS is not supported yet, only sslmode=disable");
        assert_eq!(told("jdbc:postgresql://h/d?usr=x"), "`jdbcUrl`: unknown parameter `usr`, did you mean `user`?");
        assert!(told("jdbc:postgresql://u:p@h/d").contains("userName"));
    }
}
