// JDBC: logs in with the token on standard input as the password, and prints who the session is: at once, and after
// RESET ALL and DISCARD ALL.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;
import java.util.Properties;
import org.postgresql.plugin.AuthenticationPlugin;
import org.postgresql.plugin.AuthenticationRequestType;

public class Password {
  // docs/login.md: from here
  public static class FreshToken implements AuthenticationPlugin { // named by authenticationPluginClassName
    public FreshToken(Properties settings) {}

    @Override
    public char[] getPassword(AuthenticationRequestType type) {
      return token().toCharArray(); // called for each connection
    }
  }
  // docs/login.md: to here

  private static String token;

  private static String token() {
    return token;
  }

  public static void main(String[] arguments) throws Exception {
    token = new BufferedReader(new InputStreamReader(System.in)).readLine();
    Properties settings = new Properties();
    settings.setProperty("user", System.getenv("PGUSER"));
    settings.setProperty("sslmode", "verify-full");
    settings.setProperty("sslrootcert", System.getenv("PGSSLROOTCERT"));
    settings.setProperty("authenticationPluginClassName", FreshToken.class.getName());
    String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
    try (Connection connection = DriverManager.getConnection(url, settings);
        Statement statement = connection.createStatement()) {
      for (String first : new String[] {"SELECT 1", "RESET ALL", "DISCARD ALL"}) {
        statement.execute(first);
        try (ResultSet row = statement.executeQuery("SELECT auth.user_id() || ' ' || length(auth.jwt()::text)")) {
          row.next();
          System.out.println(row.getString(1));
        }
      }
    }
  }
}
