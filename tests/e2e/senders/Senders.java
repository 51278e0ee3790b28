// Sends jobs (see jobs.py, write_lines) with java.net.http.HttpClient or HttpURLConnection; one line for each job.
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpRetryException;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.StringJoiner;

public class Senders {
    static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    public static void main(String[] args) throws Exception {
        for (String line : Files.readAllLines(Path.of(args[1]), StandardCharsets.UTF_8)) {
            String[] job = line.split("\t");
            byte[] body = body(job[4].replace("\u001d", "\r\n"), Integer.parseInt(job[5]));
            boolean chunked = job[6].equals("1");
            boolean expect = job[7].equals("1");
            // HttpClient of Java 17 waits for ever for a body behind any final answer to Expect, from any server.
            if (expect && args[0].equals("client")) continue;
            StringJoiner outcomes = new StringJoiner("\t");
            for (int n = 0; n < Integer.parseInt(job[8]); n++) {
                String outcome;
                try {
                    outcome = args[0].equals("client") ? client(job, body, chunked, expect)
                                                       : connection(job, body, chunked, expect);
                } catch (Exception error) {
                    outcome = error.toString().replaceAll("\\s", " ");
                }
                outcomes.add(outcome);
            }
            System.out.println(job[0] + "\t" + job[6] + "\t" + job[7] + "\t" + outcomes);
        }
    }

    static byte[] body(String fields, int size) {
        byte[] start = fields.getBytes(StandardCharsets.UTF_8);
        byte[] end = "\r\n--job--\r\n".getBytes(StandardCharsets.UTF_8);
        byte[] body = new byte[start.length + size + end.length];
        Arrays.fill(body, (byte) 'x');
        System.arraycopy(start, 0, body, 0, start.length);
        System.arraycopy(end, 0, body, start.length + size, end.length);
        return body;
    }

    static String client(String[] job, byte[] body, boolean chunked, boolean expect) throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(job[2])).expectContinue(expect);
        for (String field : job[3].split("\u001f")) {
            request.header(field.split("\u001e")[0], field.split("\u001e")[1]);
        }
        request.method(job[1], chunked ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body))
                                       : BodyPublishers.ofByteArray(body));
        HttpResponse<String> response = CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofString());
        return response.body().contains("\"error\"") ? "" + response.statusCode() : "no envelope";
    }

    static String connection(String[] job, byte[] body, boolean chunked, boolean expect) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) URI.create(job[2]).toURL().openConnection();
        connection.setRequestMethod(job[1]);
        connection.setDoOutput(true);
        for (String field : job[3].split("\u001f")) {
            connection.setRequestProperty(field.split("\u001e")[0], field.split("\u001e")[1]);
        }
        if (expect) connection.setRequestProperty("Expect", "100-continue");
        if (chunked) connection.setChunkedStreamingMode(65536);
        else connection.setFixedLengthStreamingMode(body.length);
        try (OutputStream out = connection.getOutputStream()) {
            out.write(body);
        } catch (java.net.ProtocolException refused) {
            // "Server rejected operation": the answer to Expect has come, and is read below.
        }
        int status;
        try {
            status = connection.getResponseCode();
        } catch (HttpRetryException error) {
            return "" + error.responseCode(); // a 401 in streaming mode: the class keeps the body to itself
        }
        try (InputStream in = connection.getErrorStream()) {
            if (in == null) return "" + status; // and after a refused Expect
            String answer = new String(in.readAllBytes(), StandardCharsets.UTF_8);
            return answer.contains("\"error\"") ? "" + status : "no envelope";
        }
    }
}
