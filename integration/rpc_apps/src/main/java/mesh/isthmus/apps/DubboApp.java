package mesh.isthmus.apps;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.List;
import java.util.Map;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.MethodConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcContext;

/**
 * Dubbo: {@code provider NAME PORT [PROTOCOL [API]]} or {@code consumer ADDRESS [PROTOCOL [API]]}. The protocol is {@code dubbo} or
 * {@code tri}; API is the address of a sidecar's registry API, which is told what is published and subscribed.
 */
public final class DubboApp {
    private DubboApp() {
    }

    public static void main(String[] arguments) throws Exception {
        ApplicationConfig application = new ApplicationConfig("isthmus-" + arguments[0]);
        application.setQosEnable(false);
        DubboBootstrap bootstrap = DubboBootstrap.getInstance().application(application).registry(new RegistryConfig("N/A"));
        if (arguments[0].equals("provider")) {
            provide(bootstrap, arguments[1], Integer.parseInt(arguments[2]), optional(arguments, 3, "dubbo"));
            tell(optional(arguments, 4, ""), "pub");
            System.out.println("ready");
            bootstrap.await();
        } else {
            tell(optional(arguments, 3, ""), "sub");
            consume(bootstrap, arguments[1], optional(arguments, 2, "dubbo"));
        }
    }

    private static String optional(String[] arguments, int index, String otherwise) {
        return arguments.length > index ? arguments[index] : otherwise;
    }

    /** Tells a registry API, as an SDK does. */
    private static void tell(String api, String what) throws IOException, InterruptedException {
        if (api.isEmpty()) {
            return;
        }
        String service = "{\"interface\": \"" + Greeter.class.getName() + "\", \"methods\": [\"greet\", \"slow\"], \"group\": \"\", \"version\": \"\"}";
        String registry = "{\"type\": \"zookeeper\", \"addr\": \"127.0.0.1:2181\"}";
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://" + api + "/" + what))
            .POST(HttpRequest.BodyPublishers.ofString("{\"registry\": " + registry + ", \"service\": " + service + "}"))
            .version(HttpClient.Version.HTTP_1_1)
            .build();
        String answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
        if (!answer.contains("\"ok\"")) {
            throw new IOException(answer);
        }
    }

    private static void provide(DubboBootstrap bootstrap, String name, int port, String protocolName) {
        ProtocolConfig protocol = new ProtocolConfig(protocolName, port);
        protocol.setHost("127.0.0.1");
        protocol.setSerialization("hessian2");
        ServiceConfig<Greeter> service = new ServiceConfig<>();
        service.setInterface(Greeter.class);
        service.setRef(new GreeterImpl(name));
        bootstrap.protocol(protocol).service(service).start();
    }

    private static void consume(DubboBootstrap bootstrap, String address, String protocol) throws Exception {
        MethodConfig oneWay = new MethodConfig();
        oneWay.setName("tell");
        oneWay.setReturn(false);
        MethodConfig slow = new MethodConfig();
        slow.setName("slow");
        slow.setTimeout(5000);
        ReferenceConfig<Greeter> reference = new ReferenceConfig<>();
        reference.setInterface(Greeter.class);
        reference.setUrl(protocol + "://" + address + "?serialization=hessian2&prefer.serialization=hessian2&heartbeat=1000");
        reference.setTimeout(5000);
        reference.setRetries(0);
        reference.setCheck(false);
        reference.setMethods(List.of(oneWay, slow));
        bootstrap.reference(reference).start();
        Greeter greeter = reference.get();
        Commands.serve(greeter, (Map<String, String> headers) ->
            headers.forEach((name, value) -> RpcContext.getClientAttachment().setAttachment(name, value)));
    }
}
