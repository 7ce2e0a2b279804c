package mesh.isthmus.apps;

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

/** Dubbo: {@code provider NAME PORT} or {@code consumer ADDRESS}. */
public final class DubboApp {
    private DubboApp() {
    }

    public static void main(String[] arguments) throws Exception {
        ApplicationConfig application = new ApplicationConfig("isthmus-" + arguments[0]);
        application.setQosEnable(false);
        DubboBootstrap bootstrap = DubboBootstrap.getInstance().application(application).registry(new RegistryConfig("N/A"));
        if (arguments[0].equals("provider")) {
            provide(bootstrap, arguments[1], Integer.parseInt(arguments[2]));
        } else {
            consume(bootstrap, arguments[1]);
        }
    }

    private static void provide(DubboBootstrap bootstrap, String name, int port) {
        ProtocolConfig protocol = new ProtocolConfig("dubbo", port);
        protocol.setHost("127.0.0.1");
        protocol.setSerialization("hessian2");
        ServiceConfig<Greeter> service = new ServiceConfig<>();
        service.setInterface(Greeter.class);
        service.setRef(new GreeterImpl(name));
        bootstrap.protocol(protocol).service(service).start();
        System.out.println("ready");
        bootstrap.await();
    }

    private static void consume(DubboBootstrap bootstrap, String address) throws Exception {
        MethodConfig oneWay = new MethodConfig();
        oneWay.setName("tell");
        oneWay.setReturn(false);
        MethodConfig slow = new MethodConfig();
        slow.setName("slow");
        slow.setTimeout(5000);
        ReferenceConfig<Greeter> reference = new ReferenceConfig<>();
        reference.setInterface(Greeter.class);
        reference.setUrl("dubbo://" + address + "?serialization=hessian2&prefer.serialization=hessian2&heartbeat=1000");
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
