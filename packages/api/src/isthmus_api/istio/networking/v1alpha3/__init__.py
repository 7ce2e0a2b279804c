"""Package istio.networking.v1alpha3. The same messages serve the v1alpha3, v1beta1 and v1 kinds."""
