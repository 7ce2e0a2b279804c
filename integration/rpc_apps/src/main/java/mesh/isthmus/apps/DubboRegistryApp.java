package mesh.isthmus.apps;

import java.util.Map;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

/** Dubbo with a registry, interface level: {@code provider NAME PORT ZOOKEEPER} or {@code consumer ZOOKEEPER}. */
public final class DubboRegistryApp {
    private DubboRegistryApp() {
    }

    public static void main(String[] arguments) throws Exception {
        ApplicationConfig application = new ApplicationConfig("isthmus-" + arguments[0]);
        application.setQosEnable(false);
        application.setParameters(Map.of("dubbo.application.service-discovery.migration", "FORCE_INTERFACE"));
        System.setProperty("dubbo.application.service-discovery.migration", "FORCE_INTERFACE");
        RegistryConfig registry = new RegistryConfig("zookeeper://" + arguments[arguments.length - 1]);
        registry.setRegisterMode("interface");
        registry.setUseAsConfigCenter(false);
        registry.setUseAsMetadataCenter(false);
        registry.setTimeout(20000);
        DubboBootstrap bootstrap = DubboBootstrap.getInstance().application(application).registry(registry);
        if (arguments[0].equals("provider")) {
            provide(bootstrap, arguments[1], Integer.parseInt(arguments[2]));
        } else {
            consume(bootstrap);
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

    private static void consume(DubboBootstrap bootstrap) throws Exception {
        ReferenceConfig<Greeter> reference = new ReferenceConfig<>();
        reference.setInterface(Greeter.class);
        reference.setTimeout(5000);
        reference.setRetries(0);
        reference.setCheck(false);
        bootstrap.reference(reference).start();
        Commands.serve(reference.get(), (Map<String, String> headers) -> {
        });
    }
}
