import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.SpringBootVersion;
import org.springframework.boot.actuate.health.Health;
import org.springframework.boot.actuate.health.HealthIndicator;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** Spring Boot with its Actuator. Its health is bad. */
@EnableAutoConfiguration
@RestController
public class Shop {
    public static void main(String[] arguments) {
        if (arguments.length > 0 && arguments[0].equals("about")) {
            var micrometer = io.micrometer.prometheusmetrics.PrometheusMeterRegistry.class.getPackage();
            System.out.println("Spring Boot " + SpringBootVersion.getVersion() + " with micrometer-registry-prometheus "
                    + micrometer.getImplementationVersion());
            return;
        }
        var application = new SpringApplication(Shop.class);
        application.setDefaultProperties(Map.of(
                "server.address", "127.0.0.1",
                "server.port", System.getenv("PORT"),
                "management.endpoints.web.exposure.include", "health,prometheus",
                "management.metrics.distribution.percentiles-histogram.http.server.requests", "true",
                "management.metrics.distribution.minimum-expected-value.http.server.requests", "100ms",
                "management.metrics.distribution.maximum-expected-value.http.server.requests", "1s",
                "logging.level.root", "off",
                "spring.main.banner-mode", "off"));
        application.run();
    }

    @GetMapping("/pay")
    void pay() {}

    @GetMapping("/slow")
    void slow() throws InterruptedException {
        Thread.sleep(400);
    }

    @GetMapping("/fail")
    ResponseEntity<Void> fail() {
        return ResponseEntity.internalServerError().build();
    }

    @GetMapping("/broken")
    void broken() {
        throw new IllegalStateException("broken, as it was asked to be");
    }

    @Bean
    HealthIndicator sick() {
        return () -> Health.down().build();
    }
}
