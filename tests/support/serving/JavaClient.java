import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/**
 * Posts to each URL the body that follows it, three times with each of two clients, and prints the answers. They are
 * Java's default clients, which offer HTTP/2 with the first request of a connection.
 */
public class JavaClient {
    public static void main(String[] args) throws Exception {
        for (int client = 0; client < 2; client++) {
            HttpClient http = HttpClient.newHttpClient();
            for (int count = 0; count < 3 * args.length; count += 2) {
                HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(args[count % args.length]));
                HttpRequest post = request.header("Content-Type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofString(args[count % args.length + 1])).build();
                HttpResponse<String> answer = http.send(post, HttpResponse.BodyHandlers.ofString());
                System.out.println(answer.statusCode() + " " + answer.body());
            }
        }
    }
}
