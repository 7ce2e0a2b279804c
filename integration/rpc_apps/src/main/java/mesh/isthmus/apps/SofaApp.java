package mesh.isthmus.apps;

import com.alipay.sofa.rpc.common.RpcConstants;
import com.alipay.sofa.rpc.config.ConsumerConfig;
import com.alipay.sofa.rpc.config.MethodConfig;
import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.RegistryConfig;
import com.alipay.sofa.rpc.config.ServerConfig;
import com.alipay.sofa.rpc.context.RpcInvokeContext;
import java.util.List;

/** SOFARPC over Bolt: {@code provider NAME PORT [REGISTRY]} or {@code consumer ADDRESS|- [REGISTRY]}. */
public final class SofaApp {
    private SofaApp() {
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("provider")) {
            provide(arguments[1], Integer.parseInt(arguments[2]), arguments.length > 3 ? registry(arguments[3]) : null);
        } else {
            consume(arguments[1], arguments.length > 2 ? registry(arguments[2]) : null);
        }
    }

    /** {@code mesh://127.0.0.1:13330}, whose address SOFARPC wants as a URL, or {@code zookeeper://127.0.0.1:2181}, whose it does not. */
    private static RegistryConfig registry(String url) {
        String[] parts = url.split("://");
        return new RegistryConfig().setProtocol(parts[0]).setAddress(parts[0].equals("mesh") ? "http://" + parts[1] : parts[1]);
    }

    private static void provide(String name, int port, RegistryConfig registry) throws InterruptedException {
        ServerConfig server = new ServerConfig().setProtocol("bolt").setHost("127.0.0.1").setPort(port).setDaemon(false);
        ProviderConfig<Greeter> provider = new ProviderConfig<Greeter>()
            .setInterfaceId(Greeter.class.getName()).setRef(new GreeterImpl(name)).setServer(server);
        if (registry == null) {
            provider.setRegister(false);
        } else {
            provider.setRegistry(registry);
        }
        provider.export();
        System.out.println("ready");
        Thread.currentThread().join();
    }

    private static void consume(String address, RegistryConfig registry) throws Exception {
        MethodConfig oneWay = new MethodConfig().setName("tell").setInvokeType(RpcConstants.INVOKER_TYPE_ONEWAY);
        MethodConfig slow = new MethodConfig().setName("slow").setTimeout(500);
        ConsumerConfig<Greeter> consumer = new ConsumerConfig<Greeter>()
            .setInterfaceId(Greeter.class.getName()).setProtocol("bolt").setTimeout(5000).setRetries(0)
            .setMethods(List.of(oneWay, slow));
        if (registry == null) {
            consumer.setDirectUrl("bolt://" + address).setRegister(false).setSubscribe(false);
        } else {
            consumer.setRegistry(registry);
        }
        Greeter greeter = consumer.refer();
        Commands.serve(greeter, headers -> {
            RpcInvokeContext.removeContext();
            headers.forEach((name, value) -> RpcInvokeContext.getContext().putRequestBaggage(name, value));
        });
    }
}
